//! Forwarding of `rmcp::ServerHandler` methods to `self.inner`, shared by every wrapper of a handler.
//!
//! All 32 methods of the trait have defaults, so a wrapper that forgets one compiles, and three of them then fail open
//! (`supported_protocol_versions`, `get_tool`, `get_info`). Wrappers therefore name what they forward and set
//! `clippy::missing_trait_methods` to deny on the impl: a method that is new in rmcp breaks the build.

/// Expands to the named `ServerHandler` methods, each calling the same method of `self.inner`.
///
/// ```ignore
/// #[deny(clippy::missing_trait_methods)]
/// impl<S: ServerHandler> ServerHandler for Wrapper<S> {
///     async fn initialize(..) { /* own */ }
///     forward_to_inner! { ping, discover, call_tool }
/// }
/// ```
macro_rules! forward_to_inner {
    ($($method:ident),* $(,)?) => { $( $crate::layer::forward::forward_method! { $method } )* };
}

/// One method of [`forward_to_inner`]. UFCS throughout: `Service` has methods of the same names.
macro_rules! forward_method {
    (supported_protocol_versions) => {
        fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [rmcp::model::ProtocolVersion]> {
            rmcp::ServerHandler::supported_protocol_versions(&self.inner)
        }
    };
    (negotiate_initialize) => {
        fn negotiate_initialize(
            &self,
            request: &rmcp::model::InitializeRequestParams,
        ) -> Result<rmcp::model::InitializeResult, rmcp::ErrorData> {
            rmcp::ServerHandler::negotiate_initialize(&self.inner, request)
        }
    };
    (accepted_subscription_filter) => {
        fn accepted_subscription_filter(
            &self,
            requested: &rmcp::model::SubscriptionFilter,
        ) -> Option<rmcp::model::SubscriptionFilter> {
            rmcp::ServerHandler::accepted_subscription_filter(&self.inner, requested)
        }
    };
    (get_tool) => {
        fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
            rmcp::ServerHandler::get_tool(&self.inner, name)
        }
    };
    (get_info) => {
        fn get_info(&self) -> rmcp::model::ServerConfig {
            rmcp::ServerHandler::get_info(&self.inner)
        }
    };
    (listen) => {
        fn listen(
            &self,
            context: rmcp::service::SubscriptionContext,
        ) -> impl Future<Output = Result<(), rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::listen(&self.inner, context)
        }
    };
    (ping) => {
        $crate::layer::forward::forward_method! { @request ping() -> () }
    };
    (initialize) => {
        $crate::layer::forward::forward_method! { @request initialize(InitializeRequestParams) -> InitializeResult }
    };
    (discover) => {
        $crate::layer::forward::forward_method! { @request discover() -> DiscoverResult }
    };
    (complete) => {
        $crate::layer::forward::forward_method! { @request complete(CompleteRequestParams) -> CompleteResult }
    };
    (set_level) => {
        $crate::layer::forward::forward_method! { @legacy set_level(SetLevelRequestParams) }
    };
    (get_prompt) => {
        $crate::layer::forward::forward_method! { @request get_prompt(GetPromptRequestParams) -> GetPromptResponse }
    };
    (list_prompts) => {
        $crate::layer::forward::forward_method! { @page list_prompts -> ListPromptsResult }
    };
    (list_resources) => {
        $crate::layer::forward::forward_method! { @page list_resources -> ListResourcesResult }
    };
    (list_resource_templates) => {
        $crate::layer::forward::forward_method! {
            @page list_resource_templates -> ListResourceTemplatesResult
        }
    };
    (read_resource) => {
        $crate::layer::forward::forward_method! {
            @request read_resource(ReadResourceRequestParams) -> ReadResourceResponse
        }
    };
    (subscribe) => {
        $crate::layer::forward::forward_method! { @legacy subscribe(SubscribeRequestParams) }
    };
    (unsubscribe) => {
        $crate::layer::forward::forward_method! { @legacy unsubscribe(UnsubscribeRequestParams) }
    };
    (call_tool) => {
        $crate::layer::forward::forward_method! { @request call_tool(CallToolRequestParams) -> CallToolResponse }
    };
    (list_tools) => {
        $crate::layer::forward::forward_method! { @page list_tools -> ListToolsResult }
    };
    (on_custom_request) => {
        $crate::layer::forward::forward_method! { @request on_custom_request(CustomRequest) -> CustomResult }
    };
    (get_task) => {
        $crate::layer::forward::forward_method! { @request get_task(GetTaskParams) -> GetTaskResult }
    };
    (update_task) => {
        $crate::layer::forward::forward_method! { @request update_task(UpdateTaskParams) -> () }
    };
    (cancel_task) => {
        $crate::layer::forward::forward_method! { @request cancel_task(CancelTaskParams) -> () }
    };
    (list_skills) => {
        $crate::layer::forward::forward_method! { @page list_skills -> ListSkillsResult }
    };
    (get_skill) => {
        $crate::layer::forward::forward_method! { @request get_skill(GetSkillRequestParams) -> GetSkillResult }
    };
    (read_resource_directory) => {
        $crate::layer::forward::forward_method! {
            @request read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult
        }
    };
    (on_cancelled) => {
        $crate::layer::forward::forward_method! { @notification on_cancelled(CancelledNotificationParam) }
    };
    (on_progress) => {
        $crate::layer::forward::forward_method! { @notification on_progress(ProgressNotificationParam) }
    };
    (on_initialized) => {
        $crate::layer::forward::forward_method! { @notification on_initialized() }
    };
    (on_roots_list_changed) => {
        $crate::layer::forward::forward_method! { @notification on_roots_list_changed() }
    };
    (on_custom_notification) => {
        $crate::layer::forward::forward_method! { @notification on_custom_notification(CustomNotification) }
    };

    (@request $method:ident() -> ()) => {
        fn $method(
            &self,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<(), rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, context)
        }
    };
    (@request $method:ident() -> $result:ident) => {
        fn $method(
            &self,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<rmcp::model::$result, rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, context)
        }
    };
    (@request $method:ident($params:ident) -> ()) => {
        fn $method(
            &self,
            request: rmcp::model::$params,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<(), rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, request, context)
        }
    };
    (@request $method:ident($params:ident) -> $result:ident) => {
        fn $method(
            &self,
            request: rmcp::model::$params,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<rmcp::model::$result, rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, request, context)
        }
    };
    (@legacy $method:ident($params:ident)) => {
        #[expect(deprecated, reason = "peers before 2026-07-28 still send it")]
        fn $method(
            &self,
            request: rmcp::model::$params,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<(), rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, request, context)
        }
    };
    (@page $method:ident -> $result:ident) => {
        fn $method(
            &self,
            request: Option<rmcp::model::PaginatedRequestParams>,
            context: rmcp::service::RequestContext<rmcp::RoleServer>,
        ) -> impl Future<Output = Result<rmcp::model::$result, rmcp::ErrorData>> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, request, context)
        }
    };
    (@notification $method:ident()) => {
        fn $method(
            &self,
            context: rmcp::service::NotificationContext<rmcp::RoleServer>,
        ) -> impl Future<Output = ()> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, context)
        }
    };
    (@notification $method:ident($params:ident)) => {
        fn $method(
            &self,
            notification: rmcp::model::$params,
            context: rmcp::service::NotificationContext<rmcp::RoleServer>,
        ) -> impl Future<Output = ()> + rmcp::service::MaybeSendFuture + '_ {
            rmcp::ServerHandler::$method(&self.inner, notification, context)
        }
    };
}

pub(crate) use {forward_method, forward_to_inner};
